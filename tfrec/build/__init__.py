"""The one factory: settings and a data set become models and optimizers; "attention" becomes an object here."""

from tfrec.build.extension import with_items as with_items
from tfrec.build.model import two_tower as two_tower
from tfrec.build.optimization import batch_tokens as batch_tokens
from tfrec.build.optimization import epochs as epochs
from tfrec.build.optimization import monitor as monitor
from tfrec.build.optimization import monitor_cutoff as monitor_cutoff
from tfrec.build.optimization import optimizer as optimizer
from tfrec.build.optimization import precision as precision
from tfrec.build.pretraining import catalogue_texts as catalogue_texts
from tfrec.build.pretraining import language_model as language_model
from tfrec.build.pretraining import language_objective as language_objective
from tfrec.build.pretraining import language_optimizer as language_optimizer
from tfrec.build.ranker import ranker as ranker
from tfrec.build.ranker import ranking_data as ranking_data
from tfrec.build.tables import dataset as dataset
from tfrec.build.tables import oracle_applies as oracle_applies
from tfrec.build.tables import prepare_options as prepare_options
from tfrec.build.tables import simulated_options as simulated_options
from tfrec.build.tables import tables as tables
from tfrec.build.text import decided_text as decided_text
from tfrec.build.text import read_user_texts as read_user_texts
from tfrec.build.text import text_encoder as text_encoder
from tfrec.build.text import text_mark as text_mark
from tfrec.build.text import text_provenance as text_provenance
from tfrec.build.text import text_vectors as text_vectors
from tfrec.build.text import tuning as tuning
