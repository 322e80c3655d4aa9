"""Ranking: candidates judged in the light of a history: clicks, purchases, ratings, the order of what is recalled."""

from tfrec.ranking.candidate_context import CandidateContext as CandidateContext
from tfrec.ranking.collaborative import Collaborative as Collaborative
from tfrec.ranking.diversity import Diversity as Diversity
from tfrec.ranking.ensemble import RankerEnsemble as RankerEnsemble
from tfrec.ranking.evidence import Evidence as Evidence
from tfrec.ranking.factor_sampling import Ratings as Ratings
from tfrec.ranking.factor_sampling import sample_factors as sample_factors
from tfrec.ranking.factors import LatentFactors as LatentFactors
from tfrec.ranking.heads import BinaryHead as BinaryHead
from tfrec.ranking.heads import Head as Head
from tfrec.ranking.heads import RatingHead as RatingHead
from tfrec.ranking.interactions import CrossNetwork as CrossNetwork
from tfrec.ranking.interactions import Perceptron as Perceptron
from tfrec.ranking.label_history import LabelReader as LabelReader
from tfrec.ranking.loading import load_ranker as load_ranker
from tfrec.ranking.loading import load_two_stage as load_two_stage
from tfrec.ranking.mining import recalled_lists as recalled_lists
from tfrec.ranking.neighbourhood import Neighbourhood as Neighbourhood
from tfrec.ranking.predict import predict as predict
from tfrec.ranking.ranker import Ranker as Ranker
from tfrec.ranking.target_attention import TargetAttention as TargetAttention
from tfrec.ranking.two_stage import TwoStage as TwoStage
from tfrec.ranking.vector_inputs import VectorInputs as VectorInputs
from tfrec.ranking.weighting import LossWeights as LossWeights
from tfrec.ranking.word_attention import WordAttention as WordAttention
