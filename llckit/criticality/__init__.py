"""criticality."""
