"""Pure functions on arrays: keys, moments, intervals."""
