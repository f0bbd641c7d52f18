"""Why a network answers as it does: attributions, what a row consists of, and how a person is shown both."""
