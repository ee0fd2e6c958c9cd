"""Ways into a running agent from other programs."""
