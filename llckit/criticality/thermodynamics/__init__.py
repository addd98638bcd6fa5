"""Energy and heat capacity of the LLC, two basins or phases side by side, and the Lagrangian of a training run."""
