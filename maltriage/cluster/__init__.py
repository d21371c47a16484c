"""The local engine on the nodes of a Ray cluster: chunks of the walk, actors, shards of a result."""
