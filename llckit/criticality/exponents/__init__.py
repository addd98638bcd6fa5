"""Critical exponents: power laws, the order of a transition, the laws between exponents, scaling functions."""
