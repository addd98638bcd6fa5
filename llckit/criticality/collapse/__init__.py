"""Curves of several sizes collapsed onto one: finite-size scaling of one observable, or of several together."""
