"""The vocabulary that every layer shares: pydantic and the standard library."""
