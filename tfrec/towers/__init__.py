"""Towers: what turns items and behaviour into vectors. Keras layers that know nothing of files or settings."""

from tfrec.towers.attention import SelfAttentionEncoder as SelfAttentionEncoder
from tfrec.towers.behavior import BehaviorTower as BehaviorTower
from tfrec.towers.convolution import ConvolutionEncoder as ConvolutionEncoder
from tfrec.towers.fusion import GatedFusion as GatedFusion
from tfrec.towers.hstu_block import HSTUBlock as HSTUBlock
from tfrec.towers.item import ItemTower as ItemTower
from tfrec.towers.ligr_block import LiGRBlock as LiGRBlock
from tfrec.towers.lstm import LSTMEncoder as LSTMEncoder
from tfrec.towers.sasrec_block import SASRecBlock as SASRecBlock
