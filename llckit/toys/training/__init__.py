"""Small training runs that show transitions: full-batch, seeded, recorded as they go."""
