# SPDX-License-Identifier: GPL-2.0
"""
Expands the calls of one thread of a template, statement by statement, into
the accesses and fences that herd7 knows. What no rule has a word for is an
error, never ignored.
"""

import itertools
import re

import csubset
from csubset import SourceError
from nodes import (Event, Function, If, Num, Object, Opaque, Set, Shared, Text,
		   is_comparison, nested)
from vocabulary import (ATOMICS, CASTS, CHECKS_ARGUMENTS, CONSTANTS,
			CONSTANT_CALLS, CONSTANT_MEMBERS, IGNORED, LOCKS,
			OPAQUE_CALLS, OPAQUE_NAMES, OPTIONAL_HOOKS, PER_DOMAIN,
			PER_MIRROR, PER_MM, PER_THREAD, PER_TLB, POINTERS,
			RENAMED, STATISTICS)

FENCES = {'smp_mb', 'smp_acquire__after_ctrl_dep', 'smp_rmb', 'smp_wmb', 'barrier', 'synchronize_rcu',
	  'rcu_read_lock', 'rcu_read_unlock', 'smp_mb__before_atomic',
	  'smp_mb__after_atomic'}
NO_LANDING = {'barrier', 'rcu_read_lock', 'rcu_read_unlock'}
LOADS = {'READ_ONCE': 'READ_ONCE(*%s)', 'smp_load_acquire': None,
	 'atomic_read': None, 'atomic_read_acquire': None}
STORES = {'WRITE_ONCE': 'WRITE_ONCE(*%s, %s)', 'smp_store_release': None,
	  'atomic_set': None, 'atomic_set_release': None}
ATOMIC_RETURN = re.compile(r'atomic_(inc_return|dec_return|cmpxchg|xchg|fetch_\w+?)'
			   r'(_relaxed|_acquire|_release)?$')
ATOMIC_VOID = {'atomic_inc', 'atomic_add', 'atomic_or', 'atomic_andnot'}


class Frame:
	"""One expansion of one function."""
	def __init__(self, name, body, variables):
		self.name = name
		self.assigned = csubset.assigned(body)
		self.variables = variables
		self.result = None
		self.result_reg = None
		self.depth = 0


class Thread:
	"""Expands the calls of one thread of a template."""

	def __init__(self, program, hooks, name):
		self.program = program
		self.hooks = hooks
		self.name = name
		self.nodes = []
		self.depth = 0
		self.used = {}
		self.initial = {}
		self.mutable = set()
		self.shared = {}
		self.assumptions = []
		self.sends = None
		self.serial = itertools.count()
		self.callers = []

	# Emission

	def fresh(self, base):
		n = self.used.get(base, 0) + 1
		self.used[base] = n
		return base if n == 1 else '%s%d' % (base, n)

	def initialized(self, base, value):
		reg = self.fresh(base)
		self.initial[reg] = value
		self.mutable.add(reg)
		return reg

	def share(self, name):
		base = name.rstrip('0123456789')
		if base in LOCKS:
			self.shared[name] = 'spinlock_t *'
		elif base in ATOMICS:
			self.shared[name] = 'atomic_t *'
		elif base in POINTERS:
			self.shared[name] = 'int **'
		else:
			self.shared[name] = 'int *'
		return name

	def emit(self, node):
		self.nodes.append(node)

	def branch(self, cond, then, other=lambda: None):
		"""Emit an if, whose branches the two functions emit."""
		outer = self.nodes
		self.depth += 1
		self.nodes = then_nodes = []
		then()
		self.nodes = other_nodes = []
		other()
		self.depth -= 1
		self.nodes = outer
		if then_nodes or other_nodes:
			self.emit(If(cond, then_nodes, other_nodes))

	def load(self, fmt, name, shared, dest):
		reg = dest or self.fresh('r_' + (shared.rstrip('*') or 'value'))
		self.emit(Event(fmt, name + '-load', shared, reg))
		return Text(reg, [reg])

	def assume(self, cond):
		"""Of the executions, keep those where @cond is true."""
		if isinstance(cond, Num) and cond.value:
			return
		reg = self.initialized('r_assumed', 1)
		self.emit(Set(reg, str(self.truth(cond))))
		self.assumptions.append(reg)

	# Expressions

	def operator(self, op, left, right):
		regs = set()
		for side in (left, right):
			regs |= getattr(side, 'regs', frozenset())
		return Text('%s %s %s' % (nested(str(left)), op,
					  nested(str(right))), regs)

	def truth(self, value):
		"""As 0 or 1."""
		if isinstance(value, Object):
			return Num(1)
		if isinstance(value, Num):
			return Num(value.value != 0)
		if isinstance(value, Opaque) or is_comparison(str(value)):
			return value
		return self.operator('!=', value, Num(0))

	def no(self, value):
		if isinstance(value, Object):
			return Num(0)
		if isinstance(value, Num):
			return Num(not value.value)
		if isinstance(value, Opaque):
			return value
		return self.operator('==', value, Num(0))

	def member(self, suffix, name):
		name = RENAMED.get(name, name)
		if name in PER_DOMAIN or name in PER_TLB or name in PER_MM:
			return Shared(self.share(name))
		if name in PER_MIRROR or name == 'window_lock':
			return Shared(self.share(name + suffix))
		if name in PER_THREAD:
			return Shared(self.share('%s_%s' %
						 (name, self.name.lower())))
		return None

	def lvalue(self, expr, frame):
		"""Shared, a variable's name, '*register', or None: statistics."""
		kind = expr[0]
		if kind == 'id':
			name = expr[1]
			if isinstance(frame.variables.get(name), Shared):
				return Shared(self.share(name))
			if name in frame.variables:
				return name
		elif kind == 'member':
			if expr[2] in STATISTICS or expr[2] == 'tlb':
				return None
			base = self.eval(expr[1], frame)
			if isinstance(base, Opaque):
				found = self.member(base.suffix, expr[2])
				if found:
					return found
		elif kind == 'index':
			return self.lvalue(expr[1], frame)
		elif kind == 'call' and expr[1] == ('id', 'cpumask_bits'):
			return self.lvalue(expr[2][0], frame)
		elif kind == 'un' and expr[1] == '*':
			value = self.eval(expr[2], frame)
			if isinstance(value, Shared):
				return value
			return '*' + str(value)
		raise SourceError('not a place to store to: %s' % (expr,))

	def eval(self, expr, frame, dest=None):
		return getattr(self, 'eval_' + expr[0])(expr, frame, dest)

	def eval_num(self, expr, _frame, _dest):
		return Num(expr[1])

	def eval_type(self, _expr, _frame, _dest):
		return Opaque()

	def eval_id(self, expr, frame, _dest):
		name = expr[1]
		if name in frame.variables:
			value = frame.variables[name]
			if isinstance(value, Shared):
				self.share(value.name)
			return value
		if name in CONSTANTS:
			return Num(CONSTANTS[name])
		if name in OPAQUE_NAMES:
			return Opaque()
		if self.program.has(name):
			return Function(name)
		raise SourceError('unknown name: %s' % name)

	def eval_member(self, expr, frame, dest):
		name = expr[2]
		if name in CONSTANT_MEMBERS:
			return Num(CONSTANT_MEMBERS[name])
		if name in OPTIONAL_HOOKS:
			return Object() if name in self.hooks else Num(0)
		if name == 'mask':
			return self.lvalue(expr, frame)
		base = self.eval(expr[1], frame)
		if not isinstance(base, Opaque):
			raise SourceError('not a structure: %s' % (expr,))
		found = self.member(base.suffix, name)
		if not found:
			return Opaque(base.suffix)
		if found.name.rstrip('0123456789') in LOCKS:
			return found
		return self.load('*' + found.name, found.name, found.name, dest)

	def eval_index(self, expr, frame, dest):
		base = expr[1]
		if base[0] == 'id' and isinstance(frame.variables.get(base[1]),
						  Opaque):
			return frame.variables[base[1]]
		place = self.lvalue(expr, frame)
		if isinstance(place, Shared):
			return self.load('*' + place.name, place.name,
					 place.name, dest)
		return frame.variables[place]

	def eval_un(self, expr, frame, dest):
		op = expr[1]
		if op == '&':
			inner = expr[2]
			if inner[0] == 'member':
				base = self.eval(inner[1], frame)
				found = self.member(base.suffix, inner[2])
				return found or Opaque(base.suffix)
			place = self.lvalue(inner, frame)
			if isinstance(place, Shared):
				return place
			return frame.variables[place]
		if op == '*':
			place = self.lvalue(expr, frame)
			if isinstance(place, Shared):
				return self.load('*' + place.name, place.name,
						 place.name, dest)
			return self.load(place, 'page', '', dest)
		value = self.eval(expr[2], frame)
		if op == '!':
			return self.no(value)
		if isinstance(value, Num):
			return Num(~value.value if op == '~' else -value.value)
		raise SourceError('operator %s' % op)

	def eval_bin(self, expr, frame, _dest):
		op = expr[1]
		left = self.eval(expr[2], frame)
		if op in ('&&', '||'):
			return self.short_circuit(op, left, expr[3], frame)
		right = self.eval(expr[3], frame)
		if isinstance(left, Num) and isinstance(right, Num):
			return Num(eval('%s %s %s' % (left, op, right), {}))
		if isinstance(left, Opaque) or isinstance(right, Opaque):
			return Opaque(getattr(left, 'suffix', ''))
		if op in ('+', '-') and isinstance(right, Num) and \
		   not right.value:
			return left
		return self.operator(op, left, right)

	def short_circuit(self, op, left, right, frame):
		if isinstance(left, Num):
			if bool(left.value) == (op == '||'):
				return self.truth(left)
			return self.truth(self.eval(right, frame))
		if isinstance(left, Opaque):
			self.eval(right, frame)
			return left
		outer = self.nodes
		self.depth += 1
		self.nodes = inner = []
		value = self.eval(right, frame)
		self.depth -= 1
		self.nodes = outer
		if isinstance(value, Opaque):
			raise SourceError('half a condition is opaque')
		if not inner:
			if isinstance(value, Num):
				if bool(value.value) == (op == '||'):
					return Num(op == '||')
				return self.truth(left)
			return self.operator('&' if op == '&&' else '|',
					     self.truth(left),
					     self.truth(value))
		reg = self.initialized('r_cond', 0)
		if op == '||':
			self.emit(Set(reg, '1'))
			left = self.no(left)
		inner.append(Set(reg, str(self.truth(value))))
		self.emit(If(str(left), inner, []))
		return Text(reg, [reg])

	def eval_cond(self, expr, frame, _dest):
		value = self.eval(expr[1], frame)
		if isinstance(value, Num):
			return self.eval(expr[2 if value.value else 3], frame)
		raise SourceError('a ?: that is not known')

	def eval_assign(self, expr, frame, _dest):
		_, op, left, right = expr
		place = self.lvalue(left, frame)
		if place is None:
			return Num(0)
		if op:
			right = ('bin', op, left, right)
		if isinstance(place, str) and not place.startswith('*'):
			self.set_variable(place, right, frame)
			return frame.variables[place]
		value = self.eval(right, frame)
		name = place.name if isinstance(place, Shared) else place[1:]
		shared = place.name if isinstance(place, Shared) else ''
		self.emit(Event('*%s = %s' % (name, value),
				'%s-store' % (shared or 'page'), shared,
				stored=str(value)))
		return value

	def set_variable(self, name, expr, frame):
		old = frame.variables[name]
		reg = str(old) if isinstance(old, Text) and \
			str(old) in self.mutable else None
		if reg is None:
			reg = self.fresh('r_' + name if frame.name else name)
			self.mutable.add(reg)
		before = len(self.nodes)
		value = self.eval(expr, frame, reg)
		if isinstance(value, Opaque):
			frame.variables[name] = value
			return
		if str(value) != reg or len(self.nodes) == before:
			self.emit(Set(reg, str(value)))
		frame.variables[name] = Text(reg, [reg])

	# Calls

	def eval_call(self, expr, frame, dest):
		_, callee, args = expr
		if callee[0] == 'member':
			name = self.hooks.get(callee[2])
		else:
			name = callee[1]
		if name is None:
			raise SourceError('a call of %s' % (callee,))
		if name in CASTS:
			return self.eval(args[0], frame)
		if name in IGNORED:
			return Num(0)
		if name in CONSTANT_CALLS:
			return Num(CONSTANT_CALLS[name])
		if name in OPAQUE_CALLS:
			return Opaque()
		if name == 'this_cpu_cpumask_var_ptr':
			reg = self.initialized('r_mask_copy', 0)
			return Text(reg, [reg])
		if name == 'page_address':
			return Shared(self.share('page'))
		builtin = self.builtin(name.replace('atomic_long_', 'atomic_'),
				       args, frame, dest)
		if builtin is not None:
			return builtin
		return self.expand(name, [self.eval(a, frame) for a in args])

	def place(self, arg, by_name, frame):
		"""The shared variable that a primitive's argument denotes."""
		if by_name:
			return self.lvalue(arg, frame)
		if arg[0] == 'un' and arg[1] == '&':
			return self.lvalue(arg[2], frame)
		return self.eval(arg, frame)

	def builtin(self, name, args, frame, dest):
		if name in FENCES:
			if name == 'smp_acquire__after_ctrl_dep':
				name = 'smp_rmb'
			self.emit(Event(name + '()', name))
			return Num(0)
		if name in ('spin_lock', 'spin_unlock'):
			where = self.eval(args[0], frame)
			self.emit(Event('%s(%s)' % (name, where), name))
			return Num(0)
		if name in LOADS:
			where = self.place(args[0], name == 'READ_ONCE', frame)
			return self.load_through(name, where, dest)
		if name in STORES:
			where = self.place(args[0], name == 'WRITE_ONCE', frame)
			if where is None:
				return Num(0)
			value = self.eval(args[1], frame)
			return self.store_through(name, where, value)
		if name == 'assume':
			self.assume(self.eval(args[0], frame))
			return Num(0)
		if name == 'interrupt':
			return self.interrupt(args, frame)
		if name == 'command':
			return self.interrupt(args, frame,
					      'smp_store_release(%s, 1)')
		if name in ATOMIC_VOID and self.statistic(args[-1]):
			return Num(0)
		if name == 'atomic_inc':
			name = 'atomic_inc_return_relaxed'
		elif name in ATOMIC_VOID:
			values = [self.eval(a, frame) for a in args]
			shared = str(values[-1])
			text = '%s(%s)' % (name, ', '.join(map(str, values)))
			what = 'clear' if 'not' in name else 'set'
			self.emit(Event(text, '%s-%s' % (shared, what)))
			return Num(0)
		if ATOMIC_RETURN.match(name):
			values = [self.eval(a, frame) for a in args]
			text = '%s(%s)' % (name, ', '.join(map(str, values)))
			shared = next(str(v) for v in values
				      if isinstance(v, Shared))
			result = self.load(text, shared, shared, dest)
			self.nodes[-1].rmw = (name, [str(v) for v in values[1:]])
			return result
		return None

	@staticmethod
	def statistic(arg):
		return arg[:2] == ('un', '&') and arg[2][0] == 'member' and \
			arg[2][2] in STATISTICS

	def load_through(self, name, where, dest):
		if where is None:
			return Num(0)
		if not isinstance(where, Shared):
			text = where if isinstance(where, str) else '*' + str(where)
			if name != 'READ_ONCE':
				raise SourceError('%s(%s)' % (name, text))
			if not text.startswith('*'):
				raise SourceError('a marked access to a local')
			return self.load('READ_ONCE(%s)' % text, 'page', '',
					 dest)
		fmt = LOADS[name] or name + '(%s)'
		return self.load(fmt % where.name, where.name, where.name, dest)

	def store_through(self, name, where, value):
		if isinstance(value, Opaque):
			raise SourceError('%s of an opaque value' % name)
		if not isinstance(where, Shared):
			text = str(where).lstrip('*')
			self.emit(Event('WRITE_ONCE(*%s, %s)' % (text, value),
					'page-store'))
			return value
		fmt = STORES[name] or name + '(%s, %s)'
		self.emit(Event(fmt % (where.name, value),
				where.name + '-store', where.name,
				stored=str(value)))
		return value

	def interrupt(self, args, frame, store='WRITE_ONCE(*%s, 1)'):
		if self.sends:
			raise SourceError('a thread with two interrupts')
		handler = self.eval(args[0], frame)
		if not isinstance(handler, Function):
			raise SourceError('which function is called?')
		self.sends = handler.name
		mine = self.name.lower()
		req, ack = self.share('request_' + mine), self.share('done_' + mine)
		self.emit(Event(store % req, 'interrupt', req, stored='1'))
		wait = self.eval(args[1], frame)
		if not isinstance(wait, Num):
			raise SourceError('is the interrupt waited for?')
		if wait.value:
			reg = self.fresh('r_done')
			self.emit(Event('READ_ONCE(*%s)' % ack,
					'interrupt-done', ack, reg))
			self.assumptions.append(reg)
		return Num(0)

	def expand(self, name, args):
		if name in self.callers:
			raise SourceError('%s calls itself' % name)
		params, body = self.program.function(name)
		frame = Frame(name, body, {})
		frame.depth = self.depth
		for i, param in enumerate(params):
			value = args[i] if i < len(args) else Opaque()
			if param in frame.assigned and isinstance(value,
								  (Num, Text)):
				reg = self.fresh('r_' + param)
				self.mutable.add(reg)
				self.emit(Set(reg, str(value)))
				value = Text(reg, [reg])
			frame.variables[param] = value
		self.callers.append(name)
		self.run(body, frame)
		self.callers.pop()
		if frame.result_reg:
			return Text(frame.result_reg, [frame.result_reg])
		return frame.result if frame.result is not None else Num(0)

	# Statements

	def run(self, statements, frame):
		"""Execute a function's remaining statements."""
		statements = list(statements)
		while statements:
			statement = statements.pop(0)
			kind = statement[0]
			if kind == 'mark':
				continue
			if kind == 'goto':
				while statements[0] != ('mark', statement[1]):
					statements.pop(0)
				continue
			if kind == 'return':
				self.do_return(statement, frame)
				return
			if kind in ('while', 'for', 'foreach'):
				statements = self.unroll(statement, frame) + \
					statements
				continue
			if kind == 'if':
				statements = self.do_if(statement, statements,
							frame)
				continue
			getattr(self, 'do_' + kind)(statement, frame)

	def do_expr(self, statement, frame):
		self.eval(statement[1], frame)

	def do_assume(self, statement, frame):
		self.assume(self.no(self.eval(statement[1], frame)))

	def do_decl(self, statement, frame):
		_, name, init, array = statement
		if init is None:
			frame.variables[name] = Opaque()
			return
		if array:
			raise SourceError('an array with an initializer')
		if name in frame.assigned:
			frame.variables[name] = Opaque()
			self.set_variable(name, init, frame)
			return
		value = self.eval(init, frame)
		if getattr(value, 'regs', frozenset()) & self.mutable:
			reg = self.fresh('r_' + name)
			self.emit(Set(reg, str(value)))
			value = Text(reg, [reg])
		frame.variables[name] = value

	def do_return(self, statement, frame):
		if statement[1] is None:
			return
		value = self.eval(statement[1], frame)
		if self.depth == frame.depth and not frame.result_reg:
			frame.result = value
			return
		if isinstance(value, Opaque):
			raise SourceError('%s returns an opaque value' % frame.name)
		if not frame.result_reg:
			frame.result_reg = self.initialized('r_' + frame.name, 0)
		self.emit(Set(frame.result_reg, str(value)))

	def do_if(self, statement, rest, frame):
		"""Return what is left to be executed after it."""
		_, cond, then, other = statement
		value = self.eval(cond, frame)
		if isinstance(value, Object):
			value = self.truth(value)
		if isinstance(value, Opaque):
			if frame.name not in CHECKS_ARGUMENTS:
				raise SourceError('%s: an if on what is not modelled'
						  % frame.name)
			value = Num(0)
		if isinstance(value, Num):
			return (then if value.value else other) + rest
		# What follows belongs to both branches as far as one may skip it.
		exits = [s for s in csubset.walk(then + other)
			 if s[0] in ('goto', 'return')]
		keep = 0
		for leave in exits:
			if leave[0] == 'return':
				keep = len(rest)
			else:
				keep = max(keep, rest.index(('mark', leave[1])) + 1)
		shared, rest = rest[:keep], rest[keep:]
		before = dict(frame.variables)
		after = []

		def run_branch(branch):
			frame.variables = dict(before)
			self.run(branch + shared, frame)
			after.append(frame.variables)

		self.branch(str(value), lambda: run_branch(then),
			    lambda: run_branch(other))
		frame.variables = self.join(before, *after)
		return rest

	@staticmethod
	def join(before, left, right):
		"""A variable keeps its register, or is not used any more."""
		result = dict(before)
		for name in before:
			values = {str(v) if isinstance(v, (Num, Text)) else id(v)
				  for v in (left[name], right[name])}
			if len(values) == 1:
				result[name] = left[name]
			elif isinstance(before[name], Text):
				raise SourceError('%s is two things' % name)
			else:
				result[name] = Opaque()
		return result

	def unroll(self, statement, frame):
		"""
		One page, one CPU, one word, one try: a counting loop runs once. A
		loop that waits runs until its condition is false, which one
		more look may find; what it saw before makes no difference.
		"""
		end = next(self.serial)
		again = next(self.serial)
		body = self.jumps(statement[-1], end, again)
		tail = [('mark', end)]
		if statement[0] == 'while':
			cond = statement[1]
			return [('if', cond,
				 body + [('mark', again), ('assume', cond)],
				 [])] + tail
		if statement[0] == 'for':
			_, init, cond, _, _ = statement
			if init[0] != 'assign' or init[2][0] != 'id':
				raise SourceError('a for without a counter')
			frame.variables[init[2][1]] = self.eval(init[3], frame)
			value = self.eval(cond, frame)
			body += [('mark', again)]
			if isinstance(value, Opaque):
				return body + tail
			frame.variables['<loop %d>' % end] = value
			return [('if', ('id', '<loop %d>' % end), body, [])] + \
				tail
		_, name, args, _ = statement
		which = {'for_each_set_bit': 1, 'for_each_cpu': 1}.get(name)
		if which is None:
			raise SourceError(name)
		frame.variables[args[0][1]] = Opaque()
		bits = self.eval(args[1], frame)
		if isinstance(bits, Shared):
			bits = self.load('READ_ONCE(*%s)' % bits, bits.name,
					 bits.name, None)
		value = self.operator('&', bits, Num(1))
		frame.variables['<loop %d>' % end] = value
		return [('if', ('id', '<loop %d>' % end),
			 body + [('mark', again)], [])] + tail

	def jumps(self, statements, end, again):
		result = []
		for statement in statements:
			if statement[0] == 'break':
				result.append(('goto', end))
			elif statement[0] == 'continue':
				result.append(('goto', again))
			elif statement[0] == 'if':
				result.append(('if', statement[1],
					       self.jumps(statement[2], end, again),
					       self.jumps(statement[3], end,
							  again)))
			else:
				result.append(statement)
		return result
