"""Rules of time and attempt caps: pure, below the calling lists."""
