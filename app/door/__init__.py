"""The door: the only process that dials out for agents and holds provider keys. Imports the domain alone."""
