# What a new tenant starts with: signed-in users may run agents and harmless tools while their
# session can pay; everything else is for administrators.
package nexus.agent.policy

import rego.v1

# Tools that reach no further than their own sandbox and the addresses that it is given.
safe_categories := {"code_execution", "data_analysis", "file_system", "http", "text_processing"}

# Asked in this order; the first that applies decides.
decision := deny("signed_in", "nobody is signed in") if {
	not signed_in
} else := deny("budget", "the session has no tokens left") if {
	input.session.budget.tokens == 0
} else := deny("budget", "the session has no money left") if {
	input.session.budget.cost_usd_micros == 0
} else := deny("budget", "the session has no time left") if {
	input.session.budget.time_ms == 0
} else := allow("run_start", "signed-in users may start runs") if {
	input.point == "run.start"
} else := allow("llm_call", "signed-in users may call models") if {
	input.point == "llm.call"
} else := allow("safe_tool", sprintf("everyone may use %s tools", [input.tool.category])) if {
	input.point == "tool.call"
	input.tool.category in safe_categories
} else := allow("admin_tool", "administrators may use every tool") if {
	input.point == "tool.call"
	is_admin
} else := deny("tool", sprintf("%s tools are for administrators", [category])) if {
	input.point == "tool.call"
} else := deny("default", "no rule allows it")

allow(rule, reason) := {"allow": true, "rule": rule, "reasons": [reason]}

deny(rule, reason) := {"allow": false, "rule": rule, "reasons": [reason]}

signed_in if {
	is_string(input.user.id)
	input.user.id != ""
}

is_admin if input.user.role == "admin"

is_admin if "admin" in input.user.roles

default category := "uncategorised"

category := input.tool.category

# Tests.

user := {"id": "u1", "role": "user"}

admin := {"id": "u2", "role": "admin"}

call(who, kind) := {"point": "tool.call", "user": who, "tool": {"name": "t", "category": kind}}

test_users_start_runs_and_call_models if {
	every point in ["run.start", "llm.call"] {
		decision.allow with input as {"point": point, "user": user}
	}
}

test_nobody_may_do_nothing if {
	every who in [{}, {"id": ""}, {"id": 7}, {"role": "admin"}] {
		not decision.allow with input as {"point": "run.start", "user": who}
	}
	decision.rule == "signed_in" with input as {"point": "run.start"}
}

test_an_exhausted_budget_denies_even_administrators if {
	every left in ["tokens", "cost_usd_micros", "time_ms"] {
		answer := decision with input as {
			"point": "run.start",
			"user": admin,
			"session": {"budget": {left: 0}},
		}
		not answer.allow
		answer.rule == "budget"
	}
}

test_a_budget_with_something_left_allows if {
	decision.allow with input as {
		"point": "llm.call",
		"user": user,
		"session": {"budget": {"tokens": 1, "cost_usd_micros": 1}},
	}
}

test_everyone_uses_safe_tools if {
	every kind in safe_categories {
		decision.rule == "safe_tool" with input as call(user, kind)
		decision.allow with input as call(user, kind)
	}
}

test_other_tools_are_for_administrators if {
	every kind in ["system", "code", ""] {
		decision.rule == "tool" with input as call(user, kind)
		not decision.allow with input as call(user, kind)
		decision.rule == "admin_tool" with input as call(admin, kind)
		decision.allow with input as call(admin, kind)
	}
	decision.allow with input as call({"id": "u3", "roles": ["admin"]}, "system")
}

test_a_tool_without_category_is_for_administrators if {
	not decision.allow with input as {"point": "tool.call", "user": user, "tool": {"name": "t"}}
	decision.allow with input as {"point": "tool.call", "user": admin, "tool": {"name": "t"}}
}

test_an_unknown_point_is_denied if {
	decision.rule == "default" with input as {"point": "memory.wipe", "user": admin}
}
