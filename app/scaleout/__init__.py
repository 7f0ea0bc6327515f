"""The toolkit: one scaling idea, one package. It imports Django and libraries, and nothing of this
project.
"""
