"""All services in one value, as the faces are given them."""

from __future__ import annotations

from dataclasses import dataclass

from app.ports import Clock, Library, Providers
from app.services.approvals import Approvals
from app.services.approver_keys import ApproverKeys
from app.services.bulk import BulkDesk
from app.services.egress import Egress
from app.services.evidence import EvidenceDesk
from app.services.freezer import Freezer
from app.services.gate import Gate
from app.services.grants import Grants
from app.services.health import Health
from app.services.ledger import Ledger
from app.services.modelcalls import ModelCalls
from app.services.notices import Notices
from app.services.policy_desk import PolicyDesk
from app.services.previews import Previews
from app.services.runs import Runs
from app.services.selfapprovals import SelfApprovals
from app.services.steering import SteeringDesk
from app.services.toolcalls import ToolCalls
from app.services.tools import ToolShelf


@dataclass(frozen=True, slots=True)
class Services:
    """What the faces call; each verb is one durable step."""

    ledger: Ledger
    gate: Gate
    runs: Runs
    approvals: Approvals
    bulk: BulkDesk
    grants: Grants
    approver_keys: ApproverKeys
    evidence: EvidenceDesk
    policies: PolicyDesk
    steering: SteeringDesk
    tool_calls: ToolCalls
    tools: ToolShelf
    model_calls: ModelCalls
    egress: Egress
    freezer: Freezer
    notices: Notices
    self_approvals: SelfApprovals
    previews: Previews
    library: Library
    providers: Providers
    health: Health
    clock: Clock
