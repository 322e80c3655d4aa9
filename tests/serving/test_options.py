import pytest

from tfrec.serving import options
from tfrec.serving.options import ExportOptions


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"quantization": "int4"}, "`quantization` must be one of float32, float16, int8; received 'int4'"),
        ({"index": "hnsw"}, "`index` must be one of auto, exact, ivf; received 'hnsw'"),
        ({"recall": 1}, "`recall` must be above 0 and below 1; received 1"),
        ({"recall": 0.0}, "`recall`"),
        ({"text_weight": 0}, "`text_weight` must be above 0; received 0"),
    ],
)
def test_what_cannot_be_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        ExportOptions(**wrong)


def test_auto_makes_an_index_of_many_items_alone():
    assert not ExportOptions().approximate(options.MANY) and ExportOptions().approximate(options.MANY + 1)
    assert ExportOptions(index="ivf").approximate(1) and not ExportOptions(index="exact").approximate(10**9)
