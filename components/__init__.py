"""The steps of the line and what they are made of; none of it knows Prefect."""
