"""Prefect flows over the components, the command, and the recipes."""
