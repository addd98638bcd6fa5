"""Systems with known critical exponents: exact ones, lattices, percolation, and a perceptron that learns."""
