#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Make litmus tests of the section guard, and of the flushes of device TLBs, out
of the helper's own source.

usage: generate.py SOURCE-TREE OUTPUT-DIRECTORY

herd7 knows neither functions nor loops nor interrupts. A template (*.in) is a
litmus test whose threads call the helper's functions by name; expand.py replaces
the calls by what those functions say today, so that the models cannot drift
from the code, and fold.py makes the result small.

An interrupt is code inside the interrupted thread. A template is written out
once for every place in thread P0 where it can land.

The file "controls" lists edits of the source that must make a test fail, and
"core.c" says what the kernel's own functions do.
"""

import fnmatch
import itertools
import os
import re
import sys

import csubset
from csubset import SourceError
from expand import Frame, NO_LANDING, Thread
from fold import Folder, Local
from nodes import (Event, If, Opaque, Set, Shared, events, is_comparison,
		   leaves, nested, words)
from vocabulary import MIRRORS, SOURCES

HERE = os.path.dirname(os.path.abspath(__file__))


class Program:
	"""The source, perhaps with a few edits."""

	def __init__(self, tree):
		self.texts = []
		for path in SOURCES:
			with open(os.path.join(tree, path), encoding='utf-8') as f:
				self.texts.append(csubset.strip(f.read()))
		with open(os.path.join(HERE, 'core.c'), encoding='utf-8') as f:
			self.texts.append(csubset.strip(f.read()))
		self.edited = {}

	def find(self, name):
		for text in self.texts:
			found = csubset.find_function(text, name)
			if found:
				return found
		return None

	def has(self, name):
		return self.find(name) is not None

	def edit(self, name, old, new):
		"""Replace the one place in function @name that says @old."""
		if name in self.edited:
			params, body = self.edited[name]
		elif self.has(name):
			params, body = self.find(name)
			body = csubset.normalize(body)
		else:
			raise SourceError('no function %s' % name)
		old = csubset.normalize(old)
		if body.count(old) != 1:
			raise SourceError('%s says %d times: %s' %
					  (name, body.count(old), old))
		self.edited[name] = params, body.replace(old, new)

	def function(self, name):
		found = self.edited.get(name) or self.find(name)
		if not found:
			raise SourceError('unknown function: %s' % name)
		return found[0], csubset.parse(found[1])


class Template:
	"""A litmus test, but for the functions that it calls."""

	def __init__(self, path):
		with open(path, encoding='utf-8') as f:
			text = f.read()
		comment = re.search(r'\(\*(.*?)\*\)', text, re.DOTALL)
		lines = [line.strip().lstrip('*').strip()
			 for line in comment.group(1).strip().split('\n')]
		self.options = {'Broken': ['Sometimes', 'DATARACE']}
		while lines and ':' in lines[0]:
			key, _, value = lines.pop(0).partition(':')
			self.options[key] = value.split()
		self.doc = '\n'.join(lines).strip()
		rest = text[comment.end():]
		self.name = text.split()[1]
		start = rest.index('{')
		end = csubset.matching(rest, start, '{}')
		self.init = [line.strip() for line
			     in rest[start + 1:end - 1].strip().split('\n')]
		self.threads = {}
		for match in re.finditer(r'(?m)^(P\d|nested)$', rest[end:]):
			body = end + match.end()
			body_end = csubset.matching(rest, body, '{}')
			self.threads[match.group(1)] = csubset.parse(
				csubset.strip(rest[body:body_end]))
		self.exists = re.search(r'(?ms)^exists (.*)$', rest).group(1).strip()

	def values(self):
		values = {'online': '1'}
		values.update(re.findall(r'(\w+) = (\w+);', '\n'.join(self.init)))
		return values

	def shared_names(self):
		names = set()
		for line in self.init:
			names.update(re.findall(r'[A-Za-z_]\w*', line))
		return names


class Layout:
	"""Where in P0 which code is inserted, keyed by the event it precedes."""

	def __init__(self, nodes, inserted):
		self.nodes = nodes
		self.inserted = inserted

	def before(self, event):
		return [node for key, nodes in self.inserted
			if key is event for node in nodes]

	def expand(self, nodes, top=False):
		result = []
		for node in nodes:
			if isinstance(node, If):
				result.append(If(node.cond,
						 self.expand(node.then),
						 self.expand(node.other)))
				continue
			for extra in self.before(node):
				result += self.expand([extra])
			result.append(node)
		if top:
			for extra in self.before(None):
				result += self.expand([extra])
		return result

	def all(self):
		return self.expand(self.nodes, True)


def labels(nodes, prefix=''):
	"""(label, event) for each place where an interrupt can land."""
	seen = {}
	result = []
	for event in events(nodes):
		if event.what in NO_LANDING:
			continue
		n = seen[event.what] = seen.get(event.what, 0) + 1
		name = prefix + event.what + ('-%d' % n if n > 1 else '')
		result.append((name, event))
	return result


def decide(nodes, way, taken):
	"""
	Go one way to the interrupt of an invalidator: "sent", "unseen" (no
	reader's CPU is on the mask) or "early" (somebody else has waited).
	What is not gone through is cut off; @taken collects the conditions.
	"""
	result = []
	for node in nodes:
		if not isinstance(node, If) or \
		   not any(e.what == 'interrupt' for e in events([node])):
			result.append(node)
			continue
		inside = any(e.what == 'interrupt' for e in events(node.then))
		branch = node.then if inside else node.other
		deeper = any(isinstance(n, If) and
			     any(e.what == 'interrupt' for e in events([n]))
			     for n in branch)
		enter = way == 'sent' or (way == 'unseen' and deeper)
		reg = 'r_way%d' % (len(taken) + 1)
		taken[reg] = str(int(inside == enter))
		cond = node.cond
		if not is_comparison(cond):
			cond = nested(cond) + ' != 0'
		result.append(Set(reg, cond))
		if enter:
			result += decide(branch, way, taken)
		else:
			result += node.other if inside else node.then
	return result


class Test:
	"""One litmus test: threads, and what is inserted into P0."""

	def __init__(self, name, template, start, threads, layout, ways):
		self.name = name
		self.template = template
		self.ways = ways
		self.landed = [t for t, way in ways.items() if way == 'sent']
		self.filters = []
		self.bodies = []
		self.published = start == 'published'
		self.possible = True
		for thread in threads:
			nodes = thread.nodes
			if thread.name == 'P0':
				nodes = layout.all()
			self.add(thread, nodes, start)

	def add(self, thread, nodes, start):
		index = thread.name[1:]
		wanted = {reg: '1' for reg in thread.assumptions}
		if thread.sends:
			nodes = decide(nodes, self.ways[thread.name], wanted)
		if thread.name == 'P0':
			for name in self.landed:
				wanted['r_asked_' + name.lower()] = '1'
		folder = Folder(thread, nodes, start)
		needed = re.findall(r'\b%s:(\w+)' % index, self.template.exists)
		folded = folder.run(nodes, list(wanted) + needed)
		for name in self.landed if thread.name == 'P0' else ():
			if folder.named.get('named_' + name.lower(), '1') != '1':
				self.possible = False
		present = {node.reg for node in leaves(folded)}
		for reg, value in wanted.items():
			known = folder.env.get(reg)
			if known is None and reg not in present:
				continue
			if known is None:
				self.filters.append('%s:%s=%s' % (index, reg, value))
			elif known != value:
				self.possible = False
		# What is known already was only repeated for the filter.
		while folded and isinstance(folded[-1], Set) and \
				folded[-1].reg in wanted:
			folded.pop()
		self.bodies.append((thread, folded, folder.initial))

	def lines(self, nodes, indent):
		tab = '\t' * indent
		result = []
		for node in nodes:
			if isinstance(node, If):
				result += self.if_lines(node, indent)
			elif node.reg:
				result.append('%s%s = %s;' %
					      (tab, node.reg, node.text))
			else:
				result.append(tab + node.text + ';')
		return result

	def if_lines(self, node, indent):
		tab = '\t' * indent
		then = self.lines(node.then, indent + 1)
		other = self.lines(node.other, indent + 1)
		if not then:
			return ['%sif ((%s) == 0) {' % (tab, node.cond)] + \
				other + [tab + '}']
		result = ['%sif (%s) {' % (tab, node.cond)] + then
		if other:
			result += [tab + '} else {'] + other
		return result + [tab + '}']

	def thread_lines(self, thread, nodes, initial):
		lines = self.lines(nodes, 1)
		used = words('\n'.join(lines))
		params = ', '.join('%s%s' % (thread.shared[name], name)
				   for name in sorted(thread.shared)
				   if name in used)
		regs = list(dict.fromkeys(node.reg for node in leaves(nodes)
					  if node.reg))
		result = ['%s(%s)' % (thread.name, params), '{']
		for reg in regs:
			init = ' = ' + initial[reg] if reg in initial else ''
			result.append('\tint %s%s;' % (reg, init))
		return result + [''] + lines + ['}', '']

	def text(self, result, doc):
		out = ['C ' + self.name, '', '(*', ' * Result: ' + result, ' *']
		out += [(' * ' + line).rstrip() for line in doc.split('\n')]
		out += [' *)', '', '{']
		init = list(self.template.init)
		if self.published:
			init.append('mask = 1;')
		out += ['\t' + line for line in init if line] + ['}', '']
		for body in self.bodies:
			out += self.thread_lines(*body)
		if self.filters:
			out.append('filter (%s)' % ' /\\ '.join(self.filters))
		out.append('exists ' + self.template.exists)
		return '\n'.join(out) + '\n'


class Generator:
	"""All tests of one template on one program."""

	def __init__(self, template, program, edited=False):
		self.template = template
		self.program = program
		self.edited = edited
		variables = {'domain': Opaque(), 'window': Opaque(),
			     'window2': Opaque('2'), 'mirror': Opaque(),
			     'mirror2': Opaque('2')}
		hooks = MIRRORS[template.options.get('Mirror', ['window'])[0]]
		self.threads = []
		self.nested = []
		for name, body in template.threads.items():
			if name == 'nested':
				outer, p0.nodes = p0.nodes, []
				self.top(p0, body, variables)
				self.nested, p0.nodes = p0.nodes, outer
				continue
			thread = Thread(program, hooks, name)
			if name == 'P0':
				p0 = thread
			self.top(thread, body, variables)
			self.threads.append(thread)
		self.p0 = p0
		self.handlers = {}
		for thread in self.threads:
			if thread.sends:
				self.handlers[thread.name] = \
					self.handler(thread)
		extra = {p0: self.nested + [node for nodes
					    in self.handlers.values()
					    for node in nodes]}
		local = Local(self.threads, extra, template.values(),
			      words(template.exists))
		for thread in self.threads:
			local.convert(thread, thread.nodes + extra.get(thread, []))

	def top(self, thread, body, variables):
		frame = Frame('', body, dict(variables))
		for name in self.template.shared_names():
			frame.variables[name] = Shared(name)
		thread.run(body, frame)

	def handler(self, thread):
		"""The reader's side of one interrupt."""
		p0 = self.p0
		mine = thread.name.lower()
		asked = 'r_asked_' + mine
		outer, p0.nodes = p0.nodes, []
		req, done = 'request_' + mine, 'done_' + mine
		p0.share(req)
		p0.share(done)
		p0.initial[asked] = 0
		if 'mask' in p0.shared:
			p0.initial['my_named'] = 0
			p0.emit(Set('my_named', 'my_named | my_mask'))
			p0.emit(Set('named_' + mine, 'my_named'))
		p0.emit(Event('READ_ONCE(*%s)' % req, 'asked', req, asked))
		p0.expand(thread.sends, [Opaque()])
		p0.emit(Event('WRITE_ONCE(*%s, 1)' % done, 'done', done,
			      stored='1'))
		nodes, p0.nodes = p0.nodes, outer
		return nodes

	def tests(self):
		options = self.template.options
		swept = [name for name in options.get('Interrupts', [])
			 if name in self.handlers]
		for start in options['Starts']:
			for irq_name, irq in self.nestings():
				yield from self.sweep(start, irq_name, irq,
						      swept)

	def nestings(self):
		if not self.nested:
			return [('', [])]
		places = labels(self.p0.nodes) + [('end', None)]
		wanted = self.template.options.get('Nested', ['*'])
		return [('+nested-before-' + label, [(event, self.nested)])
			for label, event in places
			if any(fnmatch.fnmatch(label, p) for p in wanted)]

	def ways(self, thread):
		"""Those in brackets only an edited source can go."""
		ways = self.template.options.get(thread, ['early', 'unseen'])
		return [way.strip('()') for way in ways
			if self.edited or not way.startswith('(')]

	def sweep(self, start, irq_name, irq, swept):
		options = self.template.options
		places = labels(self.p0.nodes) + [('end', None)]
		if irq:
			places += labels(self.nested, 'nested-')
		if 'Places' in options:
			places = [(label, event) for label, event in places
				  if any(fnmatch.fnmatch(label, p)
					 for p in options['Places'])]
		none = {thread: [(way, None) for way in self.ways(thread)]
			for thread in self.handlers}
		choices = [none[thread] + (places if thread in swept else [])
			   for thread in self.handlers]
		for combination in itertools.product(*choices):
			inserted = list(irq)
			name = '%s+%s%s' % (self.template.name, start, irq_name)
			ways = {}
			for thread, (label, event) in zip(self.handlers,
							  combination):
				if label in ('early', 'unseen'):
					ways[thread] = label
					name += '+%s-%s' % (thread, label)
					continue
				ways[thread] = 'sent'
				name += '+%s-before-%s' % (thread, label)
				# Before what else comes there, outermost first.
				inserted.insert(0, (event, self.handlers[thread]))
			# A CPU on the mask is interrupted, unless it is offline.
			if ways and 'sent' not in ways.values() and \
			   not self.edited and (start == 'published' or
			    'unseen' not in ways.values()) and \
			   'online' not in self.template.shared_names():
				continue
			layout = Layout(self.p0.nodes, inserted)
			test = Test(name, self.template, start, self.threads,
				    layout, ways)
			if test.possible:
				yield test


def read_controls(path):
	"""Blocks of "key: value" lines; see the head of the file."""
	controls = []
	with open(path, encoding='utf-8') as f:
		text = re.sub(r'(?m)^#.*\n', '', f.read())
	if not text.strip():
		return []
	for block in re.split(r'\n\s*\n', text.strip()):
		block = re.sub(r'\n\s+', ' ', block)
		control = {'edits': []}
		for line in block.split('\n'):
			key, _, value = line.partition(':')
			if key.startswith('in '):
				old, arrow, new = value.partition('=>')
				if not arrow:
					raise SourceError('no => in: %s' % line)
				control['edits'].append((key[3:].strip(),
							 old.strip(), new.strip()))
			else:
				control[key] = value.strip()
		controls.append(control)
	return controls


def write(directory, test, result, doc):
	path = os.path.join(directory, test.name + '.litmus')
	with open(path, 'w', encoding='utf-8') as f:
		f.write(test.text(result, doc))


def write_guard(template, tree, output):
	for test in Generator(template, Program(tree)).tests():
		write(output, test, 'Never', template.doc)


def write_control(control, templates, tree, output):
	"""One test out of those that the edited source gives."""
	program = Program(tree)
	for edit in control['edits']:
		program.edit(*edit)
	name = control['test']
	template = templates[name.split('+')[0]]
	for test in Generator(template, program, True).tests():
		if test.name == name:
			break
	else:
		raise SourceError('no test %s' % name)
	test.name = 'control-' + control['control']
	doc = '%s\nThe test is %s with the source changed:\n' % \
		(control['shows'], name)
	for where, old, new in control['edits']:
		doc += '  %s: %s => %s\n' % (where, old, new or '(nothing)')
	write(output, test, ' '.join(template.options['Broken']), doc.rstrip())


def main():
	if len(sys.argv) != 3:
		sys.exit(__doc__)
	tree, output = sys.argv[1:]
	templates = {}
	failed = []

	for name in sorted(os.listdir(HERE)):
		if name.endswith('.in'):
			template = Template(os.path.join(HERE, name))
			templates[template.name] = template
	for name, template in templates.items():
		try:
			write_guard(template, tree, output)
		except SourceError as error:
			failed.append((name, error))
	for control in read_controls(os.path.join(HERE, 'controls')):
		try:
			write_control(control, templates, tree, output)
		except SourceError as error:
			failed.append(('control-' + control['control'], error))
	# The runner reports what could not be made as tests that failed.
	for name, error in failed:
		print('%s\t%s' % (name, error))
	return 0


if __name__ == '__main__':
	sys.exit(main())
