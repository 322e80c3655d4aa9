"""The client of a served model, TensorFlow Serving's or the built-in server's alike.

`client` asks and gives typed answers, `transports` speak gRPC and REST, `patience` tries again, `titles` reads titles.
"""

from tfrec.serving.client.client import Client, Recommendation
from tfrec.serving.client.patience import ServerError

__all__ = ["Client", "Recommendation", "ServerError"]
