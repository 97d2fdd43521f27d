"""From raw nodes to a graph, whatever their format: what goes in and comes out, the walk, the report."""
