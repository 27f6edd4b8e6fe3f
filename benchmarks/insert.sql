INSERT INTO bench (payload) VALUES (decode(repeat('ab', 250), 'hex'));
