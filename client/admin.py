"""The client for administrators: loads models and directs traffic.

Its address is that of the server's listener for administration (``--admin-port``).
"""

from client.messages import model_info
from client.results import ModelInfo
from client.sdk import Client
from proto.classify.v1 import admin_pb2, admin_pb2_grpc


class AdminClient(Client):
    """A connection to a server's listener for administration; see ``Client`` for the rest."""

    def load(
        self, name: str, version: str = "", *, timeout_s: float | None = None
    ) -> list[ModelInfo]:
        """Load a version, or those of the model's policy, and wait until they are READY.

        Raises:
            ClassifyError: The server refused or failed to.
        """
        request = admin_pb2.LoadModelRequest(name=name, version=version)
        answer = self._call(self._stub().LoadModel, request, timeout_s)
        return [model_info(model) for model in answer.models]

    def unload(self, name: str, version: str = "", *, timeout_s: float | None = None) -> None:
        """Unload a version, or all, and wait until what it accepted is answered.

        Raises:
            ClassifyError: The server refused to.
        """
        request = admin_pb2.UnloadModelRequest(name=name, version=version)
        self._call(self._stub().UnloadModel, request, timeout_s)

    def set_label(
        self, name: str, label: str, version: str = "", *, timeout_s: float | None = None
    ) -> None:
        """Point a label at a version; empty: where the repository says.

        Raises:
            ClassifyError: The server refused to.
        """
        request = admin_pb2.SetLabelRequest(name=name, label=label, version=version)
        self._call(self._stub().SetLabel, request, timeout_s)

    def set_canary(
        self, name: str, version: str, share: float, *, timeout_s: float | None = None
    ) -> None:
        """Send a share of the requests, 0 to 1, to a version; 0 ends the trial.

        Raises:
            ClassifyError: The server refused to.
        """
        request = admin_pb2.SetCanaryRequest(name=name, version=version, share=share)
        self._call(self._stub().SetCanary, request, timeout_s)

    def set_shadow(
        self, name: str, version: str, share: float, *, timeout_s: float | None = None
    ) -> None:
        """Send copies of a share of the requests, 0 to 1, to a version; 0 ends the trial.

        Raises:
            ClassifyError: The server refused to.
        """
        request = admin_pb2.SetShadowRequest(name=name, version=version, share=share)
        self._call(self._stub().SetShadow, request, timeout_s)

    def roll_back(self, name: str, *, timeout_s: float | None = None) -> ModelInfo:
        """End a canary; without one, return to the version before the default one.

        Returns:
            The default version from now on.

        Raises:
            ClassifyError: The server refused or failed to.
        """
        request = admin_pb2.RollBackRequest(name=name)
        return model_info(self._call(self._stub().RollBack, request, timeout_s).model)

    def _stub(self) -> admin_pb2_grpc.AdminServiceStub:
        return admin_pb2_grpc.AdminServiceStub(self._channel)
