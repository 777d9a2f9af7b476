"""Which scope a method asks for. What is not listed is for administrators."""

from server.access.clients import Scope

# Kubernetes asks for health without credentials; the answer is one word.
_OPEN = ("/grpc.health.v1.Health/",)
_SCOPES = {
    "/classify.v1.ClassifyService/": Scope.CLASSIFY,
    "/classify.v1.FeedbackService/": Scope.CLASSIFY,
    "/classify.v1.ModelService/": Scope.READ,
    "/grpc.reflection.v1alpha.ServerReflection/": Scope.READ,
    "/grpc.reflection.v1.ServerReflection/": Scope.READ,
    "/inference.GRPCInferenceService/": Scope.READ,
    "/inference.GRPCInferenceService/ModelInfer": Scope.CLASSIFY,
    "/inference.GRPCInferenceService/ModelStreamInfer": Scope.CLASSIFY,
    "/inference.GRPCInferenceService/RepositoryModelLoad": Scope.ADMIN,
    "/inference.GRPCInferenceService/RepositoryModelUnload": Scope.ADMIN,
}


def scope_of(method: str) -> Scope | None:
    """The scope that ``/package.Service/Method`` asks for; None where anybody may call."""
    service = method[: method.rfind("/") + 1]
    if service in _OPEN:
        return None
    return _SCOPES.get(method) or _SCOPES.get(service, Scope.ADMIN)
