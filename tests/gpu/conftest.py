"""Where there is no GPU nothing here can be shown."""

import pytest

from components.train.devices import gpus


@pytest.fixture(autouse=True)
def there():
    if not gpus():
        pytest.skip("no GPU")
