"""The contracts of what plugins provide: encoders, samplers, aligners, aggregators, exporters, stores, and of heads."""
