"""The local engine on the nodes of a Ray cluster: chunks of a walk, actors, shards of results."""
