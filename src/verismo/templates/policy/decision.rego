# The entry point: the gateway asks for `data.verismo.gateway.decision`, once for each deployment
# that it might call, and does what it says.
#
# A rule file defines `<name>_ok`, true where the rule is satisfied, and a denial for the case that
# it is not. `allow` needs every `_ok`, so a fact that is missing from the input refuses.
package verismo.gateway

decision := {"allow": allow, "deny": deny, "obligations": obligations}

default allow := false

allow if {
	tenant_ok
	persisted_ok
	residency_ok
	purpose_ok
	model_ok
	tools_ok
}

# A fact for a message: its value, or a question mark where the input lacks it.
fact(name) := object.get(input, name, "?")
