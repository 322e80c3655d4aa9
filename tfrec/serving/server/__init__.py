"""A server that speaks TF Serving's REST and gRPC, for where TF Serving is not installed.

`wanted` reads from the folder what to hold, `repository` loads and swaps it, `rest_port` and `grpc_port` turn requests
into arrays, `predictor` passes them to `batching`, and `running` starts and stops it all.
"""

from tfrec.serving.server.options import Limits, Options
from tfrec.serving.server.running import Server, serve

__all__ = ["Limits", "Options", "Server", "serve"]
