"""A key ring with a key of each role that the control plane meets."""

from tests.support.keyring import RULES, START_MS, MemoryStore

from verismo.attest.keys import import_key
from verismo.attest.planseal import seal
from verismo.attest.steeringdoc import sign_steering
from verismo.control.rotation import Rotation
from verismo.model import canonical


class PlanRing:
    """A key ring with a key of each role that matters here."""

    def __init__(self):
        self.store = MemoryStore("steering")
        self.rotation = Rotation(self.store, RULES)
        self.rotation.begin(import_key(self.store.make_key("token"), "token"), START_MS, START_MS)
        for role in ("plan", "log"):
            self.rotation.ensure(role, START_MS)

    @property
    def keys(self):
        return self.rotation.newest().ring.keys

    def signer(self, role):
        kid = next(one.kid for one in self.keys if one.role == role)
        return self.store.signer(kid, role)

    def sign(self, steering, role="plan", typ=None):
        signer = self.signer(role)
        if typ is None:
            return sign_steering(steering, signer.kid, signer.sign)
        statement = canonical.encode(steering)
        return statement, seal(statement, signer.kid, typ, signer.sign).encode()
