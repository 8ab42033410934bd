"""Registration of the list of a person's submissions: whatever flow they are of, it has no work of its own."""

from flaskapp.flows import Flow
from flaskapp.submissions.routes import blueprint

FLOW = Flow("submissions", blueprints=(blueprint,))
