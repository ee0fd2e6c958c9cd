"""lumos-edge: language agents that plan, ground and execute, on the device."""

__version__ = "0.1.0"
