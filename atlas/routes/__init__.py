"""The graph whose nodes are spaces and whose edges are published maps, and the best way through it; cards alone."""
