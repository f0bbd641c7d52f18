"""One third-party library per file."""
