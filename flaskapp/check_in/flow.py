"""Registration of check-in: requests only, nothing is filed in the background."""

from flaskapp.check_in.routes import blueprint
from flaskapp.flows import Flow

FLOW = Flow("check_in", blueprints=(blueprint,))
