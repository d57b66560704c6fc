"""What the author of a plugin may use beside the public names; `docs/authors.md` says what each is for."""

from atlas.artefacts.composed import Composed as Composed
from atlas.cards.names import sha256_of as sha256_of
from atlas.cards.names import slug as slug
from atlas.cards.yaml import dump_yaml as dump_yaml
from atlas.cards.yaml import parse_yaml as parse_yaml
from atlas.components.head import HeadModel as HeadModel
from atlas.hub.cache import Ref as Ref
from atlas.hub.client import patiently as patiently
from atlas.items.batches import ImageItems as ImageItems
from atlas.items.batches import as_items as as_items
from atlas.items.batches import as_real as as_real
from atlas.models import network as network
from atlas.models.heads import LinearHead as LinearHead
from atlas.models.heads import NearestNeighboursHead as NearestNeighboursHead
from atlas.models.heads import create_head as create_head
from atlas.models.heads import similarity as similarity
from atlas.numerics.arrays import all_equal as all_equal
from atlas.numerics.arrays import check_finite as check_finite
from atlas.numerics.arrays import frozen as frozen
from atlas.numerics.arrays import hash_of as hash_of
from atlas.numerics.arrays import lengths as lengths
from atlas.numerics.arrays import unit as unit
from atlas.numerics.moments import Moments as Moments
from atlas.storage.files import explained as explained
from atlas.storage.tensors import load_tensors as load_tensors
from atlas.verbs.stitch import Stitched as Stitched
