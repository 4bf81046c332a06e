"""How a graph draws a node of each operator; ``tools.hostile.operators`` has the table.

A drawer takes the graph and the number of a value, adds a node that reads the value, sometimes with
others that the node needs, and returns the number of what it gives. It raises ValueError or
IndexError where the operator does not take such a value.
"""
