-- Names the rules of retention that had passed over the whole part when it was written; 0 for none.
ALTER TABLE point_file ADD COLUMN trimmed BIGINT NOT NULL DEFAULT 0;
