"""`kubectl recoup`: what people ask and do with Recoup in a cluster, as a client of the custom resources with its user's own rights.

One command per module. Decides nothing that the controller decides: it writes objects and reads statuses.
"""
