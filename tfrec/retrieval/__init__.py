"""Retrieval: the two-tower model that finds candidates, its objectives, and the recommendations it makes."""

from tfrec.retrieval.catalogue_texts import Texts as Texts
from tfrec.retrieval.ensemble import JoinedItemTower as JoinedItemTower
from tfrec.retrieval.ensemble import joined as joined
from tfrec.retrieval.ensemble import members as members
from tfrec.retrieval.loading import load_model as load_model
from tfrec.retrieval.new_items import NewItems as NewItems
from tfrec.retrieval.objectives import GBCE as GBCE
from tfrec.retrieval.objectives import FullSoftmax as FullSoftmax
from tfrec.retrieval.objectives import SampledSoftmax as SampledSoftmax
from tfrec.retrieval.recommend import recommend as recommend
from tfrec.retrieval.text_tuned import TextTunedTwoTower as TextTunedTwoTower
from tfrec.retrieval.tfrs_objective import TFRSRetrieval as TFRSRetrieval
from tfrec.retrieval.two_tower import TwoTower as TwoTower
