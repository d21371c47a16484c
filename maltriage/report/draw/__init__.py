"""Pictures of results: the scene, its colours, and the formats PNG and SVG."""
