# Calls of MCP tools. Only registered tools get here; `data.verismo.tools` narrows it further:
#
# - `deny`: globs of `operation/tool` that nobody may call, by tenant; `*` stands for every tenant.
#   In a glob `*` stands for any characters but `/`. Lists only: anything else denies every tool.
# - `arguments`: by `operation/tool` and argument the values that are allowed. An argument that is
#   listed must be there, whole and with one of its values; others are not looked at.
package verismo.gateway

tools_ok if not input.operation_kind == "mcp"

# Lists and descriptions; which of them are let through is in the configuration.
tools_ok if {
	input.operation_kind == "mcp"
	is_string(input.method)
	input.method != "tools/call"
}

tools_ok if {
	input.operation_kind == "mcp"
	input.method == "tools/call"
	is_string(input.tool)
	not tool_denied
	count(arguments_refused) == 0
}

called := sprintf("%v/%v", [fact("operation"), fact("tool")])

tool_denied if {
	some tenant in {"*", input.tenant}
	patterns := data.verismo.tools.deny[tenant]
	is_array(patterns)
	some pattern in patterns
	glob.match(pattern, ["/"], called)
}

# A list that is written otherwise denies everything: a slip must not open what it was to close.
tool_denied if {
	denied := data.verismo.tools.deny
	not is_object(denied)
}

tool_denied if {
	some tenant in {"*", input.tenant}
	patterns := data.verismo.tools.deny[tenant]
	not is_array(patterns)
}

arguments_refused contains name if {
	some name, values in data.verismo.tools.arguments[called]
	not argument_ok(name, values)
}

argument_ok(name, values) if {
	not name in input.arguments_partial
	input.arguments[name] in values
}

deny contains {"code": "tool", "msg": msg} if {
	not tools_ok
	tool_denied
	msg := sprintf("Tenant %v may not call %v.", [fact("tenant"), called])
}

deny contains {"code": "tool_argument", "msg": msg} if {
	not tools_ok
	some name in arguments_refused
	msg := sprintf("%v may not be called with this value of %v.", [called, name])
}

deny contains {"code": "tool", "msg": msg} if {
	not tools_ok
	not tool_denied
	count(arguments_refused) == 0
	msg := "The call does not say which method or tool it is for."
}
