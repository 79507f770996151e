"""The agents' API. It is reached only through the door, over one internal socket."""
