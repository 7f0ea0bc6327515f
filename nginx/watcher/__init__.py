"""Keeps nginx's list of replicas in step with Docker's DNS and with what each replica says of
itself.
"""
