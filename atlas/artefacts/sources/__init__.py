"""Where vectors lie: bare files, sets of shards and databases, the spaces they are stamped with, and transfers."""
