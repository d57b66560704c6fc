"""The contracts of what plugins provide: encoders, samplers, aligners, aggregators, exporters, and of heads."""
