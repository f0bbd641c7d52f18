"""Champions over HTTP: requests in MLflow's wire format, answered together, by whoever is champion now."""
