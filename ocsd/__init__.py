"""ocsd: an open-source outbound contact server with predictive pacing."""

__version__ = "0.1.0"
