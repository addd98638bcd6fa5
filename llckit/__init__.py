"""llckit: how complex a neural network really is while it trains, and when that changes."""
