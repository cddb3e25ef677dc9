"""Language models: what gives the probability of the next source token."""
